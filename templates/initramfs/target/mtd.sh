# shellcheck shell=sh disable=SC2034,SC2154
# Dump target: the ring of slots on NOR flash, through its character device. What is different from a disk: it is
# erased before it is written, block by block. Production erases slots that it has emptied, so that a crash need not.

# shellcheck source=templates/initramfs/target/slots.sh
. "$LIB/slots-target.sh"

prepare_slot() {
	erase_units $((slot * slot_units)) "$head_units"
}

# erase_units UNIT COUNT: of the device, unless they are empty already: erasing takes flash its time.
erase_units() {
	[ -n "$(dd if="$device" bs=64k skip="$1" count="$2" 2>/dev/null | tr -d '\377' | dd bs=1 count=1 2>/dev/null |
		tr '\000' x)" ] || return 0
	flash_erase -q "$device" $(($1 * 65536)) $(($2 * 65536 / erase)) >/dev/null 2>"$ERRORS"
}

# The driver has written when dd is done. There is no fsync on a character device of flash.
write_page() {
	dd if="$RECORD.page" of="$device" bs=4096 seek="$1" conv=notrunc
}

write_units() {
	done=0
	while dd of=/tmp/chunk bs=64k count="$head_units" iflag=fullblock 2>/dev/null && [ -s /tmp/chunk ]; do
		took=$(($(size_of /tmp/chunk) / 65536))
		unit=$((slot * slot_units + $1 + done))
		[ $((done + took)) -le "$2" ] || break
		erase_units "$unit" "$head_units" || return
		dd if=/tmp/chunk of="$device" bs=64k seek="$unit" conv=notrunc 2>/tmp/chunk.log || {
			sed '/records/d' /tmp/chunk.log >&2
			return 1
		}
		done=$((done + took))
		echo "$unit" >/tmp/progress
	done
	echo "$done+0 records out" >&2
}
