static const struct of_device_id toy1_of_match[] = {
	{ .compatible = "toy,soc1-iomuxc", .data = &toy1_info },
	{ /* sentinel */ }
};
MODULE_DEVICE_TABLE(of, toy1_of_match);
