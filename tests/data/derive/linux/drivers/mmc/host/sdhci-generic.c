static const struct of_device_id sdhci_ids[] = {
	{ .compatible = "toy,sdhci" },
	{ }
};
MODULE_DEVICE_TABLE(of, sdhci_ids);
