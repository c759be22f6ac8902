# shellcheck shell=sh disable=SC2034,SC2086,SC2153,SC2154
# Dump target: a folder of a server, by SSH. Below KDUMP_DIRECTORY there, in a folder named for the board's network
# address, what filesystem.sh leaves on a file system; a filtered vmcore is vmcore.flat, as makedumpfile writes to a
# pipe. The server needs a POSIX shell, cat, ls, mkdir, mv, rm, sync and wc.
#
# A connection that is cut looks to the server like the end of a file. So a file has its name only when the server has
# as many bytes of it as were sent, which is asked for in a second step. Names here have no spaces: the board file takes none.

dump=
number=
work=
folder=
# For the guard: nothing is written to any disk here.
sent=/sys/class/net/$KDUMP_INTERFACE/statistics/tx_bytes

# remote SECONDS COMMAND: what a shell on the server makes of a command; what comes in is given to it.
remote() (
	export HOME=/root
	limited "$1" dbclient -T -p "$KDUMP_PORT" -i /etc/kdump.key "${KDUMP_DEVICE%%:*}" "umask 077; $2"
)

open_target() {
	bring_up || return
	folder=${KDUMP_DEVICE#*:}/$KDUMP_DIRECTORY/$mac
	enter "dump target $KDUMP_DEVICE" $((KDUMP_DEVICE_TIMEOUT + 60))
	if ! patiently log_in; then
		fail "cannot log in, or not make the folder $folder$(last_error)"
		return 1
	fi
	base=$folder
}

# What is there already is told as well.
log_in() {
	remote 30 "mkdir -p $folder && cd $folder && ls && { cat loop 2>/dev/null; true; }" </dev/null >/tmp/there 2>"$ERRORS"
}

close_target() {
	:
}

# A log-in for each stage would take longer than the stages do: only the end is told.
leave_attempt() {
	[ "$stage" = "done" ] || [ -n "$reason" ] || return 0
	put_there "$base/attempt" "format=1" "board=$KDUMP_BOARD" "stage=$stage" "dump=${dump##*/}" "reason=$reason" \
		"seconds=$(now)"
}

# By the guard, beside the main work.
leave_end_of_time() {
	ERRORS=/tmp/errors.guard
	leave_attempt
}

# put_there FILE LINE...: commits a small text file.
put_there() {
	file=$1
	shift
	printf '%s\n' "$@" | remote 30 "cat >$file.part && sync && mv $file.part $file" >/dev/null 2>"$ERRORS"
}

write_status() {
	put_there "${dump:-$work}/status" "format=1" "board=$KDUMP_BOARD" "release=$release" "build_id=$build_id" \
		"crash_time=$crash_time" "dmesg=$dmesg_state" "vmcore=$vmcore_state" \
		"dmesg_bytes=$dmesg_bytes" "vmcore_bytes=$vmcore_bytes" \
		"dmesg_seconds=$dmesg_seconds" "vmcore_seconds=$vmcore_seconds" "reason=$reason"
}

# Numbers go up and are not used again while their dump is there.
next_number() {
	last=0
	while IFS= read -r name; do
		case $name in
		'' | *[!0-9]*) continue ;;
		esac
		while [ "${name#0}" != "$name" ]; do name=${name#0}; done
		[ "${name:-0}" -le "$last" ] || last=$name
	done </tmp/there
	printf '%04d' $((last + 1))
}

save_dmesg() {
	enter "dmesg" $((KDUMP_DEADLINE / 2 + 60))
	number=$(next_number)
	work=$folder/.part-$number
	if read_log keep_log && commit_there dmesg.txt; then
		dmesg_state=ok
		dmesg_seconds=$(now)
		dmesg_bytes=$bytes
		reason=
	else
		# The memory holds the log as well, so go on.
		dmesg_state=failed
		: "${reason:=dmesg: ${refused:-the server has less of it than was sent}}"
		say "failed: $reason"
	fi
	if ! { write_status && remote 60 "mv $work $folder/$number && sync" </dev/null >/dev/null 2>"$ERRORS"; }; then
		fail "cannot commit the folder $number$(last_error)"
		return 1
	fi
	dump=$folder/$number
	note_stage
	[ "$dmesg_state" = ok ] || return 0
	say "dmesg committed, $dmesg_bytes bytes"
	[ "$KDUMP_LOOP_CRASHES" -eq 0 ] || count_crash "$(log_by_vmcore_dmesg 2>/dev/null | last_time)"
}

keep_log() {
	send dmesg.txt "$@" && [ "${bytes:-0}" != 0 ]
}

# send FILE COMMAND...: what a command prints goes to FILE.part of this dump. Sets status to the command's, bytes to
# what was sent.
send() {
	sending=${dump:-$work}/$1
	shift
	refused=
	bytes=
	rm -f /tmp/count.pipe /tmp/count /tmp/status
	mkfifo /tmp/count.pipe || return
	wc -c </tmp/count.pipe >/tmp/count &
	counting=$!
	{
		"$@" 2>"$ERRORS"
		echo $? >/tmp/status
	} | tee /tmp/count.pipe |
		remote "$KDUMP_DEADLINE" "mkdir -p ${sending%/*} && cat >$sending.part" >/dev/null 2>/tmp/refused
	taken=$?
	wait "$counting"
	status=1
	read -r status </tmp/status
	read -r bytes </tmp/count
	if [ "$taken" -ne 0 ]; then
		mv /tmp/refused "$ERRORS"
		refused="the server did not take it$(last_error)"
		return 1
	fi
	[ "$status" -eq 0 ]
}

# commit_there FILE: of this dump, once the server has as many bytes of it as were sent.
commit_there() {
	part=${dump:-$work}/$1
	remote 60 "test \$((\$(wc -c <$part.part))) -eq $bytes && sync && mv $part.part $part && sync" \
		</dev/null >/dev/null 2>"$ERRORS"
}

keep_filtered() {
	kept=vmcore.flat
	send $kept limited "$share" \
		makedumpfile -F --message-level 4 $KDUMP_MAKEDUMPFILE_ARGS -d "$KDUMP_LEVEL" /proc/vmcore </dev/null
}

keep_raw() {
	kept=vmcore
	send $kept cat /proc/vmcore
}

commit_vmcore() {
	vmcore_bytes=$bytes
	commit_there $kept && return
	vmcore_bytes=
	because "the server has less of it than was sent$(last_error)"
	return 1
}

drop_vmcore() {
	remote 30 "rm -f $dump/$kept.part" </dev/null >/dev/null 2>&1
}

# What the server has too much of is the server's.
make_room() {
	return 1
}

rotate() {
	:
}

fits() {
	:
}

read_crashes() {
	crashes=$(sed -n 's/^crashes=//p' /tmp/there)
	case $crashes in
	'' | *[!0-9]*) crashes=0 ;;
	esac
}

write_crashes() {
	put_there "$folder/loop" "crashes=$crashes"
}
