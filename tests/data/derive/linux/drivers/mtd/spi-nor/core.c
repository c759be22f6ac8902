static const struct of_device_id spi_nor_ids[] = {
	{ .compatible = "jedec,spi-nor" },
	{ }
};
MODULE_DEVICE_TABLE(of, spi_nor_ids);
