static void f(void) { if (!of_device_is_compatible(np, "syscon")) return; }
