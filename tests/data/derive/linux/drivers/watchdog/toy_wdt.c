static const struct of_device_id toy_wdt_ids[] = {
	{ .compatible = "toy,wdt" },
	{ }
};
MODULE_DEVICE_TABLE(of, toy_wdt_ids);
static int probe(void) { watchdog_set_restart_priority(wdd, 128); return 0; }
