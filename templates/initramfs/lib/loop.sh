# shellcheck shell=sh disable=SC2034,SC2154
# Less and less work for a machine that crashes again and again, so that the product's downtime stays bounded.
#
# A crash counts when the kernel lived no longer than KDUMP_LOOP_MINUTES, by its own clock: boards without a battery
# have no other. After KDUMP_LOOP_CRASHES such crashes in a row only the log is saved, after twice as many nothing.

crashes=0
too_often=

look_at_loop() {
	[ "$KDUMP_LOOP_CRASHES" -gt 0 ] || return 0
	read_crashes
	[ "$crashes" -ge $((2 * KDUMP_LOOP_CRASHES)) ] || return 0
	share=$((KDUMP_DEADLINE / 4 + 1))
	lived=$(log_by_vmcore_dmesg 2>/dev/null | last_time)
	if [ "$lived" -lt $((KDUMP_LOOP_MINUTES * 60)) ]; then
		stage=loop
		fail "$crashes crashes in a row, each after less than $KDUMP_LOOP_MINUTES minutes: nothing is saved"
		return 1
	fi
}

# count_crash SECONDS: after the log was read, which tells how long the kernel lived.
count_crash() {
	[ "$KDUMP_LOOP_CRASHES" -gt 0 ] || return 0
	if [ "$1" -ge $((KDUMP_LOOP_MINUTES * 60)) ]; then
		crashes=0
	fi
	crashes=$((crashes + 1))
	write_crashes
	if [ "$crashes" -gt "$KDUMP_LOOP_CRASHES" ]; then
		too_often=yes
		reason="loop: $crashes crashes in a row, each after less than $KDUMP_LOOP_MINUTES minutes: only the log is saved"
		say "$reason"
	fi
}

# The seconds of the last line of a log, "[   12.345678] words"; many when there is none, which is no loop.
last_time() {
	found=$(tail -n 1)
	found=${found#\[}
	found=${found%%.*}
	found=${found##* }
	case $found in
	'' | *[!0-9]*) echo 999999999 ;;
	*) echo "$found" ;;
	esac
}
