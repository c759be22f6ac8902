static const struct of_device_id toy_gpc_dt_ids[] = {
	{ .compatible = "toy,gpc" },
	{ }
};
static struct platform_driver toy_gpc_driver = {
	.driver = { .name = "toy-gpc", .of_match_table = toy_gpc_dt_ids, },
};
