# Gives the production kernel what kdump needs of it, whichever recipe builds it, and stops do_configure with the
# reason where an option does not hold. Comes in by KERNEL_CLASSES; INHERIT += "kdump" sees to that.
#
# Deploys what is needed to build and to test an image set, and to open a dump: deploy/images/MACHINE/kdump-production,
# laid out as a kernel's build folder.

inherit kdump_tool

python () {
    if d.getVar('KERNEL_PACKAGE_NAME') != 'kernel':
        return
    fault = kdump_board_fault(d)
    if fault:
        raise bb.parse.SkipRecipe(fault)
    d.appendVarFlag('do_configure', 'depends', ''.join(' %s:do_populate_sysroot' % x for x in d.getVar('KDUMP_DEPENDS').split()))
    d.appendVarFlag('do_configure', 'postfuncs', ' kdump_production_configure')
    d.appendVarFlag('do_configure', 'file-checksums', ' ' + d.getVar('KDUMP_BOARD_CHECKSUMS'))
}

kdump_production_configure() {
    out="${WORKDIR}/kdump-production"
    install -m 0644 ${B}/.config ${WORKDIR}/kdump-before.config
    # The tool says which line does not hold, and which dependency is in its way. bbfatal_log: BitBake shows the log.
    if ! kdump_tool "config:${KDUMP_BOARD_NAME}" KERNEL_CONFIG="${WORKDIR}/kdump-before.config" OUT="$out" CACHE="$out/cache"; then
        bbfatal_log "the config of ${PN} cannot be made ready for kdump; kdumpbuild says why at the end of the log"
    fi
    install -m 0644 "$out/work/${KDUMP_BOARD_NAME}/production.config" ${B}/.config
    ${KERNEL_CONFIG_COMMAND}
    grep '^CONFIG_\|^# CONFIG_.* is not set$' "$out/work/${KDUMP_BOARD_NAME}/production.cfg" | while IFS= read -r line; do
        grep -qxF -e "$line" ${B}/.config || bbfatal "${KERNEL_CONFIG_COMMAND} took this line back: $line"
    done
}

kernel_do_deploy:append() {
    if [ "${KERNEL_PACKAGE_NAME}" = kernel ]; then
        boot="${KERNEL_OUTPUT_DIR}"
        install -d ${DEPLOYDIR}/kdump-production/$boot ${DEPLOYDIR}/kdump-production/include/config
        for image in zImage Image; do
            if [ -e ${B}/$boot/$image ]; then
                install -m 0644 ${B}/$boot/$image ${DEPLOYDIR}/kdump-production/$boot/
            fi
        done
        install -m 0644 ${B}/vmlinux ${B}/.config ${DEPLOYDIR}/kdump-production/
        install -m 0644 ${B}/include/config/kernel.release ${DEPLOYDIR}/kdump-production/include/config/
    fi
}
