"""What a training run will need before it is started: memory, time, energy, and the layouts that fit."""
