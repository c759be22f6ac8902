# shellcheck shell=sh disable=SC2034,SC2154
# Finding the dump target's device, as the board file names it. Used on the production side as well.

# find_device NAME: prints the node of /dev/…, LABEL=, UUID=, PARTLABEL= or mtd:NAME.
find_device() {
	case $1 in
	/dev/*) node=$1 ;;
	mtd:*) node=$(find_mtd "${1#mtd:}") ;;
	*) node=$(findfs "$1" 2>/dev/null) || node=$(find_partition "$1") ;;
	esac
	{ [ -b "$node" ] || [ -c "$node" ]; } && echo "$node"
}

# find_partition PARTLABEL=NAME: BusyBox's findfs does not know partition labels, sysfs does.
find_partition() {
	[ "${1%%=*}" = PARTLABEL ] || return
	for path in /sys/class/block/*/uevent; do
		node=
		name=
		while IFS='=' read -r key value; do
			case $key in
			DEVNAME) node=$value ;;
			PARTNAME) name=$value ;;
			esac
		done <"$path"
		if [ "$name" = "${1#*=}" ]; then
			echo "/dev/$node"
			return
		fi
	done
}

# find_mtd NAME: the character device of the MTD partition with this name.
find_mtd() {
	for path in /sys/class/mtd/mtd*/name; do
		name=
		read -r name <"$path" 2>/dev/null
		if [ "$name" = "$1" ]; then
			node=${path%/name}
			echo "/dev/${node##*/}"
			return
		fi
	done
	return 1
}

# patiently COMMAND...: until it works, or fails with it when KDUMP_DEVICE_TIMEOUT seconds are over.
patiently() {
	started=$(now)
	until "$@"; do
		waited=$(now)
		[ $((${waited%.*} - ${started%.*})) -lt "$KDUMP_DEVICE_TIMEOUT" ] || return 1
		usleep 100000 2>/dev/null || sleep 1
	done
}

# wait_for_device: sets device, or fails with what is there instead.
wait_for_device() {
	patiently take_device && return
	fail "not there after $KDUMP_DEVICE_TIMEOUT s; there are: $(there_are)"
	return 1
}

take_device() {
	device=$(find_device "$KDUMP_DEVICE")
}

there_are() {
	names=
	for path in /sys/class/block/* /sys/class/mtd/mtd*[0-9]; do
		[ ! -e "$path" ] || names="$names ${path##*/}"
	done
	echo "${names# }"
}
