# shellcheck shell=sh disable=SC2034,SC2154
# Words for the console, commits, and what all parts know. Sourced by init, as are the other parts: a variable that
# one sets is read by another.

STAGE=/tmp/stage
ERRORS=/tmp/errors

base=
stage=start
reason=
# Why what a tool gave was not kept, where the tool itself did its work.
refused=
can_limit=
dmesg_state=none
dmesg_seconds=
dmesg_bytes=
vmcore_state=none
vmcore_seconds=
vmcore_bytes=

# To the kernel's log as well where pstore keeps that: then it is there after the reboot, without a dump target.
say() {
	echo "kdump: $*"
	[ ! -c /dev/pmsg0 ] || echo "kdump: $*" >/dev/pmsg0
}

now() {
	read -r up _ </proc/uptime
	echo "$up"
}

# whole SECONDS: without the fraction, which a shell cannot count with.
whole() {
	echo "${1%%.*}"
}

# put FILE LINE...: commits a small text file.
put() {
	file=$1
	shift
	printf '%s\n' "$@" >"$file.part" && commit "$file.part" "$file"
}

# commit PART FINAL: makes a written file durable and gives it its name.
commit() {
	sync "$1" && mv "$1" "$2" && sync "${2%/*}"
}

# Not by stat, which not every BusyBox has.
size_of() {
	# shellcheck disable=SC2012  # one file, whose name is ours
	ls -ln "$1" | {
		read -r _ _ _ _ bytes _ && echo "$bytes"
	}
}

# kib_of BYTES: rounded down. A shell may count to 2 GiB only.
kib_of() {
	kib=${1%???}
	echo "$((${kib:-0} * 125 / 128))"
}

# limited SECONDS PROGRAM...: ends a program that does not end by itself. When memory ends the kernel kills it first.
limited() (
	seconds=$1
	shift
	[ ! -w /proc/self/oom_score_adj ] || echo 1000 >/proc/self/oom_score_adj
	[ -z "$can_limit" ] || set -- timeout -s KILL "$seconds" "$@"
	exec "$@"
)

# What a tool said last, kept because the console is gone when somebody asks.
last_error() {
	last=
	while IFS= read -r line || [ -n "$line" ]; do
		[ -z "$line" ] || last=$line
	done <"$ERRORS"
	[ -z "$last" ] || echo ": $last"
}

# enter STAGE [SECONDS]: says where we are, leaves it on the target once that is open, and tells the guard how long it
# may take; without SECONDS the whole deadline alone counts.
enter() {
	stage=$1
	say "$stage"
	limit=
	[ -z "${2:-}" ] || limit=$(($(whole "$(now)") + $2))
	note_stage
	[ -z "$base" ] || leave_attempt
}

# For the guard, which is another process.
note_stage() {
	printf '%s\n' "$stage" "$limit" "$base" "$dump" >"$STAGE.new" && mv "$STAGE.new" "$STAGE"
}

fail() {
	reason="$stage: $*"
	say "failed: $reason"
}
