static const struct of_device_id syscon_reboot_of_match[] = {
	{ .compatible = "syscon-reboot" },
	{}
};
static struct platform_driver d = { .driver = { .of_match_table = syscon_reboot_of_match } };
static int probe(void) { return register_restart_handler(&handler); }
