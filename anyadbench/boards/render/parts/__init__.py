"""Parts of the HTML page that show one thing each, with the sums behind them."""
