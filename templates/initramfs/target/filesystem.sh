# shellcheck shell=sh disable=SC2034,SC2154
# Dump target: a file system, of the board or of a server (NFS). Below KDUMP_DIRECTORY:
#   0001/ 0002/ …   one folder a dump; it appears when the kernel log in it is durable
#     dmesg.txt     the crashed kernel's log
#     vmcore        its memory; appears when it is durable
#     vmcore.part   a vmcore that was cut off; never taken for one
#     status        key=value: what the dump holds, and why it is not more
#   attempt         how far the last capture came, whether or not it left a dump
#   loop            how many crashes there were in a row
#   .part-0003/     a dump that was cut off before its log was durable; never taken for a dump
# A commit is: write under another name, look at the writer's status, sync the file, rename, sync the folder.

dump=
work=
number=

open_target() {
	folder=$KDUMP_DIRECTORY
	if [ "$KDUMP_TARGET" = nfs ]; then
		KDUMP_FILESYSTEM=nfs
		bring_up || return
		# Each board of this kind has a folder of its own there.
		folder=$folder/$mac
	fi
	enter "dump target $KDUMP_DEVICE" $((KDUMP_DEVICE_TIMEOUT + 60))
	if [ "$KDUMP_FILESYSTEM" = ubifs ] || [ "$KDUMP_FILESYSTEM" = nfs ]; then
		device=$KDUMP_DEVICE
	else
		wait_for_device || return
		# Repairs what can be repaired without questions; a mount says it better when that was not enough.
		if command -v "fsck.$KDUMP_FILESYSTEM" >/dev/null; then
			"fsck.$KDUMP_FILESYSTEM" -p "$device"
		fi
	fi
	if ! mount_device; then
		fail "cannot mount $device as $KDUMP_FILESYSTEM"
		return 1
	fi
	# The second looks whether it can be written at all: BusyBox mounts read-only where it has to. Not by ":", since a
	# redirection of that one that fails ends a POSIX shell.
	if ! { mkdir -p "$MOUNT/$folder" && true >"$MOUNT/$folder/attempt.part"; }; then
		fail "cannot write to the folder $folder on $device"
		return 1
	fi
	base=$MOUNT/$folder
	sync "$MOUNT"
}

mount_device() {
	options=noatime${KDUMP_MOUNT_OPTIONS:+,$KDUMP_MOUNT_OPTIONS}
	# What is written is packed already, and this kernel need have no compressor: neither the volume's nor the board's.
	[ "$KDUMP_FILESYSTEM" != ubifs ] || options=$options,compr=none
	# Version 4.1 alone is in the kernel. A server that is gone is an error after a while, which a hard mount is not.
	[ "$KDUMP_FILESYSTEM" != nfs ] || options=addr=${device%%:*},vers=4.1,soft,timeo=100,retrans=2,$options
	started=$(whole "$(now)")
	until mount -t "$KDUMP_FILESYSTEM" -o "$options" "$device" "$MOUNT"; do
		# A block device is there already; a UBI volume or a server may come a moment later.
		[ -z "$(find_device "$device")" ] || return 1
		[ $(($(whole "$(now)") - started)) -lt "$KDUMP_DEVICE_TIMEOUT" ] || return 1
		sleep 1
	done
}

close_target() {
	umount "$MOUNT"
}

leave_attempt() {
	put "$base/attempt" "format=1" "board=$KDUMP_BOARD" "stage=$stage" "dump=${dump##*/}" \
		"reason=$reason" "seconds=$(now)"
}

# By the guard, beside the main work: other names, and nothing of what that knows.
leave_end_of_time() {
	printf '%s\n' "format=1" "board=$KDUMP_BOARD" "stage=$stage" "dump=${dump##*/}" "reason=$reason" \
		"seconds=$(now)" >"$base/attempt.guard" && commit "$base/attempt.guard" "$base/attempt"
	[ -n "$dump" ] || return
	{ grep -v '^reason=' "$dump/status" && echo "reason=$reason"; } >"$dump/status.guard" &&
		commit "$dump/status.guard" "$dump/status"
}

write_status() {
	put "${dump:-$work}/status" "format=1" "board=$KDUMP_BOARD" "release=$release" "build_id=$build_id" \
		"crash_time=$crash_time" "dmesg=$dmesg_state" "vmcore=$vmcore_state" \
		"dmesg_bytes=$dmesg_bytes" "vmcore_bytes=$vmcore_bytes" \
		"dmesg_seconds=$dmesg_seconds" "vmcore_seconds=$vmcore_seconds" "reason=$reason"
}

# Numbers go up and are not used again while their dump is there.
next_number() {
	last=0
	for path in "$base"/[0-9]* "$base"/.part-[0-9]*; do
		name=${path##*/}
		name=${name#.part-}
		case $name in
		*[!0-9]*) continue ;;
		esac
		while [ "${name#0}" != "$name" ]; do name=${name#0}; done
		[ "${name:-0}" -le "$last" ] || last=$name
	done
	printf '%04d' $((last + 1))
}

save_dmesg() {
	enter "dmesg" $((KDUMP_DEADLINE / 2 + 60))
	number=$(next_number)
	work=$base/.part-$number
	if ! mkdir "$work"; then
		fail "cannot make the folder ${work##*/}"
		return 1
	fi
	if save_log || { make_room && save_log; }; then
		dmesg_state=ok
		dmesg_seconds=$(now)
		reason=
	else
		# The memory holds the log as well, so go on.
		dmesg_state=failed
		dmesg_bytes=
		rm -f "$work/dmesg.part"
		say "failed: $reason"
	fi
	if ! { write_status && mv "$work" "$base/$number" && sync "$base"; }; then
		fail "cannot commit the folder $number"
		return 1
	fi
	dump=$base/$number
	note_stage
	[ "$dmesg_state" = failed ] || say "dmesg committed, $dmesg_bytes bytes"
	[ "$dmesg_state" = failed ] || count_crash "$(last_time <"$dump/dmesg.txt")"
}

save_log() {
	read_log keep_log || return
	dmesg_bytes=$(size_of "$work/dmesg.part")
	commit "$work/dmesg.part" "$work/dmesg.txt" 2>"$ERRORS" && return
	reason="dmesg: cannot write it$(last_error)"
	return 1
}

keep_log() {
	"$@" >"$work/dmesg.part" 2>"$ERRORS"
	status=$?
	[ "$status" -eq 0 ] && [ -s "$work/dmesg.part" ]
}

# What must stay free on the file system is kept free by a limit on the file's size.
keep_filtered() {
	refused=
	room=$(room_kib)
	if [ "$KDUMP_MIN_FREE" -gt 0 ] && [ "$room" -le 0 ]; then
		refused="$KDUMP_MIN_FREE KiB must stay free"
		return 1
	fi
	# Errors only: on a serial line each line of progress takes its time.
	# shellcheck disable=SC2086  # options are words
	(
		# Blocks of 512 bytes.
		[ "$KDUMP_MIN_FREE" -eq 0 ] || ulimit -f $((room * 2))
		limited "$share" makedumpfile --message-level 4 $KDUMP_MAKEDUMPFILE_ARGS -d "$KDUMP_LEVEL" /proc/vmcore \
			"$dump/vmcore.part" </dev/null 2>"$ERRORS"
	)
	status=$?
	[ "$status" -eq 0 ]
}

keep_raw() {
	refused=
	cat /proc/vmcore >"$dump/vmcore.part" 2>"$ERRORS" &&
		[ "$(size_of "$dump/vmcore.part")" = "$(size_of /proc/vmcore)" ] && return
	refused=$(last_error)
	refused=${refused#: }
	return 1
}

commit_vmcore() {
	vmcore_bytes=$(size_of "$dump/vmcore.part")
	commit "$dump/vmcore.part" "$dump/vmcore" 2>"$ERRORS" && return
	vmcore_bytes=
	because "cannot write it$(last_error)"
	return 1
}

drop_vmcore() {
	rm -f "$dump/vmcore.part"
}

# Removes what captures before this one left unfinished, or one old dump. Fails when there was nothing.
make_room() {
	found=
	for path in "$base"/.part-* "$base"/[0-9]*/vmcore.part; do
		{ [ -e "$path" ] && [ "$path" != "$work" ]; } || continue
		say "removing the cut-off ${path#"$base/"}"
		rm -rf "$path" && found=yes
	done
	[ -z "$found" ] || return 0
	[ "$KDUMP_KEEP" -gt 0 ] && remove_oldest
}

# The numbers of the dumps that were there before this one, the oldest first.
earlier_dumps() {
	for path in "$base"/[0-9]*; do
		{ [ -d "$path" ] && [ "$path" != "$dump" ]; } && echo "${path##*/}"
	done | sort -n
}

# The newest dump with memory stays, whatever is missing, and so does the one that is being made.
remove_oldest() {
	newest=
	for name in $(earlier_dumps); do
		[ ! -e "$base/$name/vmcore" ] || newest=$name
	done
	[ "$vmcore_state" = none ] || newest=
	for name in $(earlier_dumps); do
		[ "$name" != "$newest" ] || continue
		say "removing the dump $name"
		# Renamed first: half a dump is none.
		mv "$base/$name" "$base/.part-$name" && rm -rf "$base/.part-$name" && sync "$base"
		return
	done
	return 1
}

# Leaves no more than KDUMP_KEEP dumps, once this one is whole.
rotate() {
	[ "$KDUMP_KEEP" -gt 0 ] || return 0
	while [ "$(earlier_dumps | wc -l)" -ge "$KDUMP_KEEP" ]; do
		remove_oldest || return 0
	done
}

# room_kib: what may be written, in KiB; a shell may count to 2 GiB only.
room_kib() {
	df -P -k "$base" | {
		read -r _ && read -r _ _ _ free _ && echo $((free - KDUMP_MIN_FREE))
	}
}

fits() {
	[ "$(room_kib)" -gt "$1" ]
}

read_crashes() {
	crashes=0
	[ ! -r "$base/loop" ] || IFS='=' read -r _ crashes <"$base/loop"
	case $crashes in
	'' | *[!0-9]*) crashes=0 ;;
	esac
}

write_crashes() {
	put "$base/loop" "crashes=$crashes"
}
