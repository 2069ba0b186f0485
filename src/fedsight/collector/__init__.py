"""The collector: takes journals in, indexes them, answers questions, tells browsers of news."""
