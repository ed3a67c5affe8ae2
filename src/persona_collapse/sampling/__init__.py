"""From a chain to answers: requests, the engines that sample them, and the stages that ask, count and score."""
