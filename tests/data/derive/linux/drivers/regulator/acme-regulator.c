static struct platform_driver acme_driver = {
	.driver = { .name = "acme-regulator", },
	.probe = acme_probe,
};
