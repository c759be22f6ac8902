# shellcheck shell=sh disable=SC2034,SC2154
# A ring of slots on a device without a file system, and the records by which its state is told. Used on the production
# side as well. docs/slots.md describes the format; kdumpbuild/formats/slots.py reads it on the host.
#
# A slot begins with pages of 4 KiB, one a record; behind them is the data, in units of 64 KiB. Records are written once
# and never changed: a state is reached when its record is there, whole, with the sequence of the slot's first one.

OPEN=0
DMESG=1
VMCORE=2
END=3
RECORD=/tmp/record
PAGES=16

# sum_with TOOL: the checksum of what comes in, without the words around it.
sum_with() {
	"$1" | {
		read -r sum _ && echo "$sum"
	}
}

# read_record SLOT NUMBER: fails when there is no record, or not a whole one. Its lines are in $RECORD then.
read_record() {
	dd if="$device" bs=4096 skip=$(($1 * slot_units * PAGES + $2)) count=1 2>/dev/null | tr -d '\000' >"$RECORD.read"
	check=$(sed -n 's/^check=//p' "$RECORD.read" 2>/dev/null)
	sed '/^check=/,$d' "$RECORD.read" >"$RECORD"
	[ -n "$check" ] && [ "$(sed -n 1p "$RECORD")" = "KDUMPSLOT 1" ] || return 1
	case ${check%%:*} in
	crc32 | cksum | md5sum | sha256sum) ;;
	*) return 1 ;;
	esac
	[ "$(sum_with "${check%%:*}" <"$RECORD")" = "${check#*:}" ] && [ "$(field slot)" = "$1" ]
}

# field KEY: of the record that was read last.
field() {
	sed -n "s/^$1=//p" "$RECORD"
}

# look_at_slot SLOT: sets state to empty, torn, log or memory, and sequence.
look_at_slot() {
	state=empty
	sequence=0
	read_record "$1" $OPEN || return 0
	sequence=$(field sequence)
	state=torn
	read_record "$1" $DMESG && [ "$(field sequence)" = "$sequence" ] || return 0
	state=log
	read_record "$1" $VMCORE && [ "$(field sequence)" = "$sequence" ] || return 0
	state=memory
}

# measure: sets slot_units and head_units, in units of 64 KiB, and erase, the bytes of an erase block of flash.
measure() {
	erase=65536
	case $KDUMP_TARGET in
	mtd) measure_flash || return ;;
	*)
		sectors=0
		read -r sectors <"/sys/class/block/${device##*/}/size"
		total=$((${sectors:-0} / 128))
		;;
	esac
	head_units=$((erase / 65536))
	[ "$head_units" -gt 0 ] || head_units=1
	slot_units=$((total / KDUMP_SLOTS / head_units * head_units))
}

measure_flash() {
	kind=
	size=0
	info=/sys/class/mtd/${device##*/}
	read -r kind <"$info/type"
	read -r size <"$info/size"
	read -r erase <"$info/erasesize"
	case $kind in
	nor | dataflash | ram) ;;
	*)
		fail "$device is ${kind:-no flash} and not NOR: use a UBIFS volume there, which knows of bad blocks"
		return 1
		;;
	esac
	if [ $((erase % 65536)) -ne 0 ] && [ $((65536 % erase)) -ne 0 ]; then
		fail "$device has erase blocks of $erase bytes, which do not go together with units of 64 KiB"
		return 1
	fi
	total=$((size / 65536))
}
