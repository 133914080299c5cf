"""Attacks on a hub, each as a hostile user would try it, and what refuses them: `make attack`.

agent.py runs in the attacker's pods; case.py says what an attack is, and those beside it are the
table; stage.py has the people; bystander.py looks after somebody who must notice nothing.
"""
