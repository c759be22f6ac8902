static const struct of_device_id i2c_toy_ids[] = {
	{ .compatible = "toy,i2c" },
	{ }
};
MODULE_DEVICE_TABLE(of, i2c_toy_ids);
