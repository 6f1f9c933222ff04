"""Repairs without training: they change a float .tflite file so that its int8 file loses less."""
