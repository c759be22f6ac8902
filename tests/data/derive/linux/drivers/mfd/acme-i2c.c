static const struct of_device_id acme_ids[] = {
	{ .compatible = "acme,pmic" },
	{ }
};
MODULE_DEVICE_TABLE(of, acme_ids);
