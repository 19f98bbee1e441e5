"""Long runs under load and faults (`make soak`); their dated output is in docs/soak/."""
