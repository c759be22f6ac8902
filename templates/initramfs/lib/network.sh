# shellcheck shell=sh disable=SC2034,SC2154
# The way to a server that takes the dump.

# bring_up: brings the interface up and gives it its address. Sets mac, by which one board is told from another.
bring_up() {
	enter "network $KDUMP_INTERFACE" $((2 * KDUMP_DEVICE_TIMEOUT + 30))
	net=/sys/class/net/$KDUMP_INTERFACE
	if ! patiently test -e "$net/address"; then
		names=
		for path in /sys/class/net/*; do
			[ ! -e "$path" ] || names="$names ${path##*/}"
		done
		fail "no such interface after $KDUMP_DEVICE_TIMEOUT s; there are:$names"
		return 1
	fi
	ip link set "$KDUMP_INTERFACE" up 2>"$ERRORS" || {
		fail "cannot bring it up$(last_error)"
		return 1
	}
	if ! patiently has_carrier; then
		fail "no link after $KDUMP_DEVICE_TIMEOUT s: is the cable in, and the other end on?"
		return 1
	fi
	read -r mac <"$net/address"
	mac=$(echo "$mac" | tr : -)
	if [ "$KDUMP_ADDRESS" = dhcp ]; then
		udhcpc -f -n -q -t "$KDUMP_DEVICE_TIMEOUT" -T 1 -i "$KDUMP_INTERFACE" -s "$LIB/dhcp.sh" >/dev/null 2>"$ERRORS" || {
			fail "no address by DHCP in $KDUMP_DEVICE_TIMEOUT s$(last_error)"
			return 1
		}
		return 0
	fi
	if ! { ip addr add "$KDUMP_ADDRESS" dev "$KDUMP_INTERFACE" &&
		{ [ -z "$KDUMP_GATEWAY" ] || ip route add default via "$KDUMP_GATEWAY"; }; } 2>"$ERRORS"; then
		fail "cannot take the address $KDUMP_ADDRESS$(last_error)"
		return 1
	fi
}

# Not to be read while the interface is down.
has_carrier() {
	carrier=
	read -r carrier 2>/dev/null <"$net/carrier"
	[ "$carrier" = 1 ]
}
