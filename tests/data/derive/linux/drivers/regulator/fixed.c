static const struct of_device_id fixed_of_match[] = {
	{ .compatible = "regulator-fixed" },
	{ }
};
MODULE_DEVICE_TABLE(of, fixed_of_match);
