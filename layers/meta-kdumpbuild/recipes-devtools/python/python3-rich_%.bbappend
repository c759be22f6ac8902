# scarthgap has it for the target only. Another variant changes nothing in the ones that are there.
BBCLASSEXTEND = "native nativesdk"
