#!/bin/sh
# shellcheck disable=SC2154
# What udhcpc calls with what it was told: takes the address. Without a lease nothing is to be done.

[ "$1" = bound ] || exit 0
ip addr add "$ip/${mask:-24}" dev "$interface" || exit
for gateway in $router; do
	ip route add default via "$gateway" dev "$interface" && break
done
exit 0
