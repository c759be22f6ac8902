static const struct of_device_id sdma_ids[] = {
	{ .compatible = "toy,sdma" },
	{ }
};
MODULE_DEVICE_TABLE(of, sdma_ids);
