"""A pipeline of three stages that need no torch and take a moment, for the tests of the commands around runs."""
