# oe-core has it for target and native. Another variant changes nothing in the ones that are there.
BBCLASSEXTEND = "native nativesdk"
