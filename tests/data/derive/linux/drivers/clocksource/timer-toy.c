TIMER_OF_DECLARE(toy_timer, "toy,timer",
		 toy_timer_init);
