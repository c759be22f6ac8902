static const struct of_device_id sdhci_toy_ids[] = {
	/* { .compatible = "toy,gone" }, */
	{ .compatible = "toy,soc1-sdhci", .data = &soc1 },
	{ }
};
MODULE_DEVICE_TABLE(of, sdhci_toy_ids);
