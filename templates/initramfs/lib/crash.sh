# shellcheck shell=sh disable=SC2034,SC2154
# What the crashed kernel says of itself, and its log.

release=
build_id=
crash_time=

# From the VMCOREINFO note at the beginning of /proc/vmcore.
identify_crash() {
	dd if=/proc/vmcore bs=4096 count=16 2>/dev/null | tr '\000' '\n' |
		grep -E '^(OSRELEASE|BUILD-ID|CRASHTIME)=' >/tmp/notes
	while IFS='=' read -r key value; do
		case $key in
		OSRELEASE) release=$value ;;
		BUILD-ID) build_id=$value ;;
		CRASHTIME) crash_time=$value ;;
		esac
	done </tmp/notes
	rm -f /tmp/notes
}

# read_log KEEP: has the log kept by KEEP, a function of the target that keeps what a command prints and fails when
# that is nothing. Neither tool may take the time that the memory needs.
read_log() {
	share=$((KDUMP_DEADLINE / 4 + 1))
	"$1" log_by_vmcore_dmesg && return
	reason="dmesg: ${refused:-vmcore-dmesg ended with $status$(last_error)}"
	say "failed: $reason; trying makedumpfile"
	if "$1" log_by_makedumpfile; then
		reason=
		return
	fi
	reason="$reason; ${refused:-makedumpfile ended with $status$(last_error)}"
	return 1
}

log_by_vmcore_dmesg() {
	limited "$share" vmcore-dmesg /proc/vmcore
}

# It writes to a file only, and to none that is there.
log_by_makedumpfile() {
	rm -f /tmp/log
	# shellcheck disable=SC2086  # options are words
	limited "$share" makedumpfile --dump-dmesg $KDUMP_DMESG_ARGS /proc/vmcore /tmp/log </dev/null >/dev/null &&
		cat /tmp/log && rm -f /tmp/log
}
