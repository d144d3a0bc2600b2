"""The classes that nbgrader's ``ExchangeFactory`` takes, each in the module of its subject."""
