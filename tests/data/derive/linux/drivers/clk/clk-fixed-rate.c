CLK_OF_DECLARE(fixed_clk, "fixed-clock", of_fixed_clk_setup);
