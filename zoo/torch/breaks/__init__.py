"""Models of PyTorch with one thing broken, on which the check is judged: does it say so, and name the break?"""
