# shellcheck shell=sh disable=SC2034,SC2153,SC2154
# The guard and the ways to reboot.
#
# The guard looks every second. As long as something moves it feeds the watchdog; when nothing does, a stage is late or
# the deadline is over, it notes that on the target and reboots. It alone feeds: when it dies as well, the hardware
# resets the machine.

guard_pid=

start_guard() {
	! grep -qw kdump.nowatchdog /proc/cmdline || KDUMP_WATCHDOG=
	# The kernel kills the tools first when memory ends, and panics, which reboots, when nothing else is left.
	protect $$
	guard &
	guard_pid=$!
	protect "$guard_pid"
	[ ! -c "$KDUMP_WATCHDOG" ] || say "watchdog $KDUMP_WATCHDOG"
}

# hold: kdump.hold=SECONDS on the command line keeps the capture waiting, to prove that the kernel itself feeds a
# watchdog that it found running.
hold() {
	read -r line </proc/cmdline
	for argument in $line; do
		case $argument in
		kdump.hold=*)
			say "held for ${argument#*=} s"
			limited 3600 sleep "${argument#*=}"
			;;
		esac
	done
}

# protect PID: from the kernel's search for memory. The tools, which it is to find, are set free by limited().
protect() {
	[ ! -w "/proc/$1/oom_score_adj" ] || echo -1000 >"/proc/$1/oom_score_adj"
}

guard() {
	set_timeout
	begun=$(whole "$(now)")
	moved=$begun
	before=
	fed=0
	while :; do
		at=$(whole "$(now)")
		signs=$(signs_of_life)
		[ "$signs" = "$before" ] || moved=$at
		before=$signs
		late=
		{ read -r _ && read -r late && read -r _; } 2>/dev/null <"$STAGE"
		if [ $((at - begun)) -ge "$KDUMP_DEADLINE" ]; then
			give_up "not done after $KDUMP_DEADLINE s"
		elif [ -n "$late" ] && [ "$at" -ge "$late" ]; then
			give_up "this stage takes too long"
		elif [ $((at - moved)) -ge "$KDUMP_STALL" ]; then
			give_up "nothing has moved for $KDUMP_STALL s"
		fi
		feed_once
		blink
		sleep 1
	done
}

# Whatever changes while work is done: the stage, pages written to any disk, blocks written to flash, what was sent.
signs_of_life() {
	cat "$STAGE" /tmp/progress ${sent:+"$sent"} 2>/dev/null
	grep -E '^nr_(dirtied|written) ' /proc/vmstat 2>/dev/null
}

# The applet sets the timeout and is killed: at a plain kill it would stop the watchdog.
set_timeout() {
	[ -c "$KDUMP_WATCHDOG" ] || return
	if command -v watchdog >/dev/null; then
		watchdog -F -T "$KDUMP_WATCHDOG_TIMEOUT" -t 1 "$KDUMP_WATCHDOG" &
		usleep 300000 2>/dev/null || sleep 1
		kill -9 $! 2>/dev/null
		wait $! 2>/dev/null
	fi
	# With "command" a device that does not open does not end the guard.
	command exec 9>"$KDUMP_WATCHDOG"
}

# Every second, since hardware may not reach the wanted timeout and keep its own.
feed_once() {
	[ ! -c "$KDUMP_WATCHDOG" ] || printf . >&9
}

blink() {
	[ -n "$KDUMP_LED" ] || return
	led=/sys/class/leds/$KDUMP_LED/brightness
	[ -w "$led" ] || return
	lit=$((1 - ${lit:-0}))
	echo "$lit" >"$led"
}

give_up() {
	say "failed: $1"
	# A disk that does not answer must not hold us up.
	leave_traces "$1" &
	sleep 5
	say "rebooting"
	force
}

# The main work still runs, so this does not use its variables or its names.
leave_traces() {
	stage='' base='' dump=''
	{ read -r stage && read -r _ && read -r base && read -r dump; } <"$STAGE"
	reason="$stage: $1"
	[ -z "$base" ] || leave_end_of_time
}

# The last act, of success and failure alike.
finish() {
	# Comes here too when the shell gives up, at a syntax error in the configuration for example.
	trap restart EXIT
	if [ "$stage" != "done" ] && [ -z "$reason" ]; then
		fail "ended unexpectedly"
	fi
	[ -z "$base" ] || leave_attempt
	if [ "$vmcore_state" = none ] && grep -qw kdump.shell /proc/cmdline; then
		say "kdump.shell: a shell until the deadline; exit it to reboot"
		while :; do
			date 2>/dev/null
			usleep 900000
		done >/tmp/progress &
		setsid cttyhack sh
	fi
	cd /
	[ -z "$base" ] || close_target || sync
	restart
}

restart() {
	say "rebooting"
	# In the background: a reset that hangs must not keep the next way from being tried.
	reboot -f &
	sleep 10
	force
}

# Reboots without sync, which would hang with a dead disk. Where all that fails the watchdog is left: nobody feeds it
# from here on.
force() {
	reboot -n -f &
	[ -z "$guard_pid" ] || kill -9 "$guard_pid" 2>/dev/null
	sleep 5
	[ ! -w /proc/sysrq-trigger ] || echo b >/proc/sysrq-trigger
	while :; do sleep 60; done
}
