static const struct of_device_id sdhci_other_ids[] = {
	{ .compatible = "toy,soc1-sdhci" },
	{ }
};
MODULE_DEVICE_TABLE(of, sdhci_other_ids);
