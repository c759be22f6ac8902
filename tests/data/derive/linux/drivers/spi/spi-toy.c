static const struct of_device_id spi_toy_ids[] = {
	{ .compatible = "toy,spi" },
	{ }
};
MODULE_DEVICE_TABLE(of, spi_toy_ids);
