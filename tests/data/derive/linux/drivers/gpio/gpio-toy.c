static const struct of_device_id toy_gpio_ids[] = { { .compatible = "toy,gpio" }, {} };
static struct platform_driver d = { .driver = { .name = "toy-gpio", .of_match_table = of_match_ptr(toy_gpio_ids) } };
