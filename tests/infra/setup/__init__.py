"""Tests of infra/setup."""
