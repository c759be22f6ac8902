static const struct of_device_id fec_ids[] = { { .compatible = "toy,fec" }, { } };
MODULE_DEVICE_TABLE(of, fec_ids);
