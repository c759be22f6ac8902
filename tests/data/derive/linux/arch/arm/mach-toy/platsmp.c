CPU_METHOD_OF_DECLARE(toy_smp, "toy,smp", &toy_smp_ops);
