# shellcheck shell=sh disable=SC2034,SC2154
# Dump target: a raw partition as a ring of slots, one a dump. See lib/slots.sh and docs/slots.md.
# mtd.sh replaces what is different on flash without a block layer: the functions marked "medium".

# shellcheck source=templates/initramfs/lib/slots.sh
. "$LIB/slots.sh"

dump=
slot=
number=
left=

open_target() {
	enter "dump target $KDUMP_DEVICE" $((KDUMP_DEVICE_TIMEOUT + 60))
	# Named by the build, unless the configuration was made without a look at the programs that are there.
	for tool in crc32 cksum md5sum sha256sum; do
		[ -n "$KDUMP_SUM" ] || ! command -v "$tool" >/dev/null || KDUMP_SUM=$tool
	done
	wait_for_device || return
	measure || return
	if [ "$slot_units" -le $((2 * head_units)) ]; then
		fail "$device is too small for $KDUMP_SLOTS slots"
		return 1
	fi
	choose_slot
}

# begin_slot: from here on the slot's earlier dump is gone, and there is a place for what goes wrong.
begin_slot() {
	if ! { prepare_slot && write_record $OPEN "release=$release" "build_id=$build_id" "crash_time=$crash_time"; }; then
		fail "cannot write to $device$(last_error)"
		return 1
	fi
	base=$device
	dump=$slot
	note_stage
}

# An empty slot, else a torn one, else the oldest. Never the newest with memory in it.
choose_slot() {
	slot=
	number=0
	newest=
	newest_number=0
	crashes=0
	counted=0
	at=0
	: >/tmp/slots
	while [ "$at" -lt "$KDUMP_SLOTS" ]; do
		look_at_slot "$at"
		echo "$at $state $sequence" >>/tmp/slots
		if [ "$state" = memory ] && [ "$sequence" -gt "$newest_number" ]; then
			newest=$at
			newest_number=$sequence
		fi
		[ "$sequence" -le "$number" ] || number=$sequence
		# The log's record stays when production has collected the dump, and with it the count.
		if read_record "$at" $DMESG; then
			found=$(field sequence)
			[ "$found" -le "$number" ] || number=$found
			if [ "$found" -gt "$counted" ]; then
				counted=$found
				crashes=$(field crashes)
			fi
		fi
		at=$((at + 1))
	done
	for wanted in empty torn any; do
		lowest=0
		while read -r at state sequence; do
			[ "$at" != "$newest" ] || continue
			[ "$wanted" = any ] || [ "$state" = "$wanted" ] || continue
			if [ -z "$slot" ] || [ "$sequence" -lt "$lowest" ]; then
				slot=$at
				lowest=$sequence
			fi
		done </tmp/slots
		[ -z "$slot" ] || break
	done
	if [ -z "$slot" ]; then
		fail "no slot is free: the only one holds the newest dump"
		return 1
	fi
	number=$((number + 1))
}

# prepare_slot (medium): makes the slot's pages writable.
prepare_slot() {
	:
}

# write_record NUMBER LINE...: one page, durable when this is over.
write_record() {
	record=$1
	shift
	set -- "KDUMPSLOT 1" "sequence=$number" "slot=$slot" "slots=$KDUMP_SLOTS" "slot_units=$slot_units" \
		"board=$KDUMP_BOARD" "$@"
	printf '%.900s\n' "$@" >"$RECORD.new" &&
		echo "check=$KDUMP_SUM:$(sum_with "$KDUMP_SUM" <"$RECORD.new")" >>"$RECORD.new" &&
		dd if="$RECORD.new" bs=4096 conv=sync of="$RECORD.page" 2>/dev/null &&
		write_page $((slot * slot_units * PAGES + record)) 2>"$ERRORS"
}

# write_page (medium) PAGE: of the device, from $RECORD.page.
write_page() {
	dd if="$RECORD.page" of="$device" bs=4096 seek="$1" conv=notrunc,fsync
}

# write_units (medium) AT LIMIT: units of the slot from what comes in, durable when this is over.
write_units() {
	dd of="$device" bs=64k iflag=fullblock seek=$((slot * slot_units + $1)) count="$2" conv=notrunc,fsync
}

# keep_stream AT LIMIT COMMAND...: keeps what a command prints at a unit of the slot. Sets status to the command's,
# units and sum to what was kept: whole units, the last one filled with zeros. Fails when it did not fit, or could not
# be written.
keep_stream() {
	at=$1
	room=$2
	shift 2
	units=0
	sum=
	rm -f /tmp/sum.pipe /tmp/read /tmp/written /tmp/status /tmp/sum
	: >"$ERRORS"
	mkfifo /tmp/sum.pipe || return
	sum_with "$KDUMP_SUM" </tmp/sum.pipe >/tmp/sum &
	summing=$!
	{
		"$@" 2>"$ERRORS"
		echo $? >/tmp/status
	} | dd bs=64k iflag=fullblock conv=sync 2>/tmp/read | tee /tmp/sum.pipe | write_units "$at" "$room" 2>/tmp/written
	wrote=$?
	wait "$summing"
	status=1
	read -r status </tmp/status
	read -r sum </tmp/sum
	units=$(records_out /tmp/written)
	if [ "$wrote" -eq 0 ] && [ "$(records_out /tmp/read)" = "$units" ]; then
		[ "$status" -eq 0 ] && [ -n "$sum" ]
		return
	fi
	if [ "$wrote" -eq 0 ]; then
		refused="it does not fit into a slot of $((slot_units * 64)) KiB"
	else
		sed '/records/d' /tmp/written >"$ERRORS"
		refused="cannot write it$(last_error)"
	fi
	return 1
}

# records_out FILE: of dd's last words, "205+0 records out".
records_out() {
	sed -n 's/^\([0-9]*\)+0 records out.*/\1/p' "$1"
}

close_target() {
	sync
}

# A slot's first records tell how far it came; the last one tells why not farther. It can be written once.
leave_attempt() {
	[ "$stage" = "done" ] || [ -n "$reason" ] || return 0
	[ -z "$left" ] || return 0
	left=yes
	write_record $END "stage=$stage" "reason=$reason" "seconds=$(now)"
}

leave_end_of_time() {
	device=$base
	slot=$dump
	read_record "$slot" $OPEN && number=$(field sequence)
	RECORD=/tmp/record.guard
	write_record $END "stage=$stage" "reason=$reason" "seconds=$(now)"
}

write_status() {
	:
}

save_dmesg() {
	enter "dmesg" $((KDUMP_DEADLINE / 2 + 60))
	begin_slot || return
	data=$head_units
	if ! read_log keep_log; then
		# The memory holds the log as well, so go on. Without a log the slot is one that holds memory only.
		dmesg_state=failed
		units=0
		sum=
		say "failed: $reason"
	else
		dmesg_state=ok
		dmesg_seconds=$(now)
		dmesg_bytes=$((units * 65536))
		count_crash "$(read_units "$data" "$units" | tr -d '\000' | last_time)"
	fi
	if ! write_record $DMESG "at=$data" "units=$units" "sum=${sum:+$KDUMP_SUM:}$sum" "seconds=$dmesg_seconds" \
		"crashes=$crashes"; then
		fail "cannot write to $device$(last_error)"
		return 1
	fi
	data=$(((data + units + head_units - 1) / head_units * head_units))
	[ "$dmesg_state" = failed ] || say "dmesg committed, $dmesg_bytes bytes"
}

read_units() {
	dd if="$device" bs=64k skip=$((slot * slot_units + $1)) count="$2" 2>/dev/null
}

keep_log() {
	refused=
	keep_stream "$data" $((slot_units - data)) "$@" && [ "$units" -gt 0 ]
}

keep_filtered() {
	encoding=flattened
	bytes=
	refused=
	# shellcheck disable=SC2086  # options are words
	keep_stream "$data" $((slot_units - data)) limited "$share" \
		makedumpfile -F --message-level 4 $KDUMP_MAKEDUMPFILE_ARGS -d "$KDUMP_LEVEL" /proc/vmcore </dev/null
}

keep_raw() {
	encoding=plain
	bytes=$(size_of /proc/vmcore)
	refused=
	keep_stream "$data" $((slot_units - data)) cat /proc/vmcore
}

commit_vmcore() {
	vmcore_bytes=$((units * 65536))
	write_record $VMCORE "form=$form" "encoding=$encoding" "at=$data" "units=$units" "bytes=$bytes" \
		"sum=$KDUMP_SUM:$sum" "seconds=$(now)" && return
	vmcore_bytes=
	because "cannot write its record$(last_error)"
	return 1
}

# What was written is no dump until its record is: nothing to remove, and other slots are not touched.
drop_vmcore() {
	:
}

make_room() {
	return 1
}

rotate() {
	:
}

fits() {
	[ $(((slot_units - data) * 64)) -gt "$1" ]
}

# Read with the slots.
read_crashes() {
	case $crashes in
	'' | *[!0-9]*) crashes=0 ;;
	esac
}

# Written with the log's record.
write_crashes() {
	:
}
