static const struct of_device_id rough_ids[] = { { .compatible = "toy,gpio" }, { } };
MODULE_DEVICE_TABLE(of, rough_ids);
