static const struct of_device_id odd_ids[] = { { .compatible = "toy,odd" }, { } };
MODULE_DEVICE_TABLE(of, odd_ids);
