static const struct of_device_id dsi_ids[] = { { .compatible = "toy,dsi" }, { } };
MODULE_DEVICE_TABLE(of, dsi_ids);
