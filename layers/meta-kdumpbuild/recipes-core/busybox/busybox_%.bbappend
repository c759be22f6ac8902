# Nothing but what a build asks for that inherits kdump.
require ${@'busybox-kdump.inc' if bb.data.inherits_class('kdump', d) else ''}
