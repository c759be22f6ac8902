# shellcheck shell=sh disable=SC2034,SC2154
# The forms of the memory, from the one that is wanted to the next smaller that fits. The log is there before.

save_vmcore() {
	case $too_often:$KDUMP_FORM in
	yes:* | *:dmesg)
		write_status
		rotate
		return
		;;
	esac
	enter "vmcore"
	before=$reason
	case $KDUMP_FORM in
	raw) forms="raw filtered" ;;
	*) forms="filtered raw" ;;
	esac
	for form in $forms; do
		[ "$form" = "${forms%% *}" ] || say "trying the $form memory"
		if "save_$form"; then
			# A second form that works does not hide why the first one did not.
			[ "$form" != "${forms%% *}" ] || reason=$before
			vmcore_state=$form
			vmcore_seconds=$(now)
			write_status
			say "vmcore committed, $vmcore_bytes bytes, $form"
			rotate
			return
		fi
	done
	say "failed: $reason"
	write_status
	return 1
}

# A half that is cut off by a tool which hangs leaves time for the next form.
save_filtered() {
	share=$((KDUMP_DEADLINE / 2 + 1))
	tries=0
	while :; do
		if ! keep_filtered; then
			because "${refused:-makedumpfile ended with $status$(last_error)}"
		elif commit_vmcore; then
			return
		fi
		say "failed: $reason"
		drop_vmcore
		tries=$((tries + 1))
		# Cut-off files and, where the board allows it, old dumps go only when their space may be what is missing.
		{ [ "$tries" -le 8 ] && make_room; } || return 1
		reason=$before
	done
}

# As much space as there was RAM.
save_raw() {
	need=$(kib_of "$(size_of /proc/vmcore)")
	until fits "$need"; do
		if ! make_room; then
			because "no space for the raw memory"
			return 1
		fi
	done
	if ! keep_raw; then
		because "copying the raw memory failed${refused:+: $refused}"
	elif commit_vmcore; then
		return
	fi
	say "failed: $reason"
	drop_vmcore
	return 1
}

# because WORDS: one more reason.
because() {
	case $reason in
	vmcore:*) reason="$reason; $1" ;;
	*) reason="vmcore: $1" ;;
	esac
}
