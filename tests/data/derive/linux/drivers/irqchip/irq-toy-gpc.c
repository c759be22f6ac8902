IRQCHIP_DECLARE(toy_gpc, "toy,gpc", toy_gpc_init);
